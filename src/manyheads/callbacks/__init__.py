"""What happens around the training loop: one file per thing that Lightning lacks."""
