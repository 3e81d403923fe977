"""What is learned: one file per task, each a LightningDataModule that turns rows into batches and names its scores."""
