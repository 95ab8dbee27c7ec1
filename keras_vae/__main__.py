"""`python -m keras_vae`, the same as `keras-vae`."""

from keras_vae.cli import main

main()
