"""How ``s4_codec.advise`` works: the sample, the measurements, the choice, and the chart."""
