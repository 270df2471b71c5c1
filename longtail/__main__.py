"""`python -m longtail`: the console command where it is not on the path."""

from longtail.commands import main

main()
