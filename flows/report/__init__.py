"""Reports: one self-contained page per study, drawn from surfaces and cubes.

``page`` builds it. The package imports nothing: who reads the best direction of a metric does without the library that draws.
"""
