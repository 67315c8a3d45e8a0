"""One file a stage: a frozen `Config` on top, `main(config)` below; nothing runs at import. `cli.py` lists them."""
