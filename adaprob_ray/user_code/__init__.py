"""Code of other packages, by path: where it is looked for, what a path names, and the digest of its source.

A sweep file names a method, a metric, a network or a data set of another package as `package.module:name`.
"""
