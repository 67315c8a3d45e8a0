"""Why a run went well or wrong: facts from its files (facts.py), what happened in plain words (words.py), causes (rules.py)."""
