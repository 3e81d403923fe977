"""What a trained network has to beat: simple answers that are counted from the training split."""
