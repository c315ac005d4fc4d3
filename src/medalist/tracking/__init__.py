"""Trackers (wandb, tensorboard) that show the training curves besides metrics.jsonl."""
