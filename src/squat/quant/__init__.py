"""Quantization: level sets, specs, encoders, weight quantizers, the integer rule."""
