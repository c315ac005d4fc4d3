"""Look at a downloaded contest, say what it probably is, and write a competition folder and a config for it.

The walk of `medalist new`: an archive is unpacked (`archive`), the files are listed and images of one folder become
image sets (`listing`, `pictures`), csv files are read (`tables`), and each module of evidence (`masks`, `boxes`,
`labels`, `identities`) yields the findings that fit. The best one is chosen (`choose`), and becomes code (`writing`)
and a config (`baseline`). No pixel of most images is read: headers are enough.
"""
