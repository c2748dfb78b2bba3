"""Measurements of the method and its rivals: accuracy, bytes on the wire and server compute.

`run.evaluate` writes a report folder, `calibrate.calibrate` the frontier that the controller reads and
`check_paper.check_paper` compares with the published figures. The arithmetic lives in modules that hold pure
functions over arrays; models are called through `vit`, whose interface is numpy.
"""
