"""The engines that run a Program."""
