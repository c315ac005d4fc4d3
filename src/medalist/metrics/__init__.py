"""The contests' metrics, each as its rules say, higher is better."""
