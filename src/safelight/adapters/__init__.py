"""What the ports promise, kept with particular technologies: `<port>/<technology>.py`. The only place that imports drivers."""
