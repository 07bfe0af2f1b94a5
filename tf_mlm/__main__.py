"""`python -m tf_mlm` is `tf-mlm`."""

from tf_mlm.cli import main

main()
