"""The DeepSpeed engine: the only place that knows it. Forward, backward and step as exact as a plain loop."""
