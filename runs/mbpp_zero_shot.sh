#!/usr/bin/env bash
# MBPP with a model that has seen APPS only: CodeRL's Table 6, the two rows of zero-shot transfer (CodeT5 CE, + CodeRL).
# What it costs: python runs/costs.py mbpp_zero_shot. How to read the results: docs/reproduce.md. Options: recipe.sh.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
begin runs/work/mbpp_zero_shot

if dry; then MBPP=$CODERL_DATA/mbpp/mbpp.jsonl WARM=$OUT/tiny CODERL=$OUT/tiny
else
  MBPP=${MBPP:-data/mbpp.jsonl}
  WARM=${WARM:-runs/work/coderl_apps/warm/actor}                # cross-entropy on APPS only
  CODERL=${CODERL:-runs/work/coderl_apps/coderl-D/actor}        # + CodeRL
fi

# ---- numbers
WRITING=(--temperature 1.2 --top-p 0.95)                        # [paper, appendix: T 1.2 on MBPP; script: 0.95]
# 382 tokens of prompt [paper, of its fine-tuning on MBPP] and 512 to write: the longest that the APPS models were taught [ours; paper: 306 in fine-tuning]
WRITING+=(--max-source-tokens 382 --max-program-tokens "$(real_or 512 24)" --rows 128)
TESTED=$(real_or 1000 "$DRY")                                   # [paper: pass@80 and pass@1000]
KS=($(real_or "1 80 1000" 1))
SEED=${SEED:-0}

# ---- the prompt is the paper's: description, "Your code should satisfy these tests:", the asserts (prompts.py)
coderl problems mbpp --source "$MBPP" --out "$OUT/all.jsonl"
pick mbpp-test "$OUT/all.jsonl" "$OUT/test.jsonl"
if dry; then pick first 2 "$OUT/test.jsonl"; fi
for name in warm coderl; do
  model=$WARM; [ "$name" = coderl ] && model=$CODERL
  TO=$OUT/$name
  write_programs "$OUT/test.jsonl" "$TO-s.jsonl" --model "$model" -n "$TESTED" "${WRITING[@]}" --seed "$SEED"
  judge "$OUT/test.jsonl" "$TO-s.jsonl" "$TO-v.jsonl" --stop-at-first-failure
  coderl evaluate --problems "$OUT/test.jsonl" --verdicts "$TO-v.jsonl" --k "${KS[@]}" --out "$TO.json" --name "$name"
done
finish
