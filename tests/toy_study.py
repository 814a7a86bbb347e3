"""The toy study, as text."""

TOY_STUDY = """\
study: toy-study
title: A toy
experiment: toy
grids:
  - axes:
      level: {path: signal.level_db, values: "0:40:10"}
      size.count: [1, 2]
      realisation: {path: draw.realisation, values: "0:2:1"}
surfaces: {over: realisation, edge: level}
report: {x: level, y: error_m, colour: count, log_y: true}
"""
