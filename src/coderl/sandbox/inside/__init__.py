"""What runs inside the sandbox: the fork server and the child. Standard library only; nothing here may import coderl.

The judge starts `python -S -s -P -B <this folder>/__main__.py` as a fresh process. The only file that the judge itself imports from
here is `values.py`, the language in which call arguments and results travel.
"""
