#!/usr/bin/env bash
# B-Coder on APPS from a CodeRL checkpoint: its Tables 1 (ranked), 2 (filtered), 3 (ranking the checkpoint's own programs), 8 (unranked) and 9.
# What it costs: python runs/costs.py bcoder_apps. How to read the results: docs/reproduce.md. Options: recipe.sh.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
begin runs/work/bcoder_apps

if dry; then APPS_TRAIN=$CODERL_DATA/apps/train APPS_TEST=$CODERL_DATA/apps/train CHECKPOINT=$OUT/tiny
else
  APPS=${APPS:-data/APPS}
  APPS_TRAIN=$APPS/train APPS_TEST=$APPS/test
  CHECKPOINT=${CHECKPOINT:-runs/work/coderl_apps/coderl-D/actor}  # the paper: the authors' codet5_finetuned_codeRL, which is not to be had any more
fi

# ---- numbers
LIMITS=(--max-source-tokens 600 --max-program-tokens 512)       # [paper, appendix]
WRITING=(--max-source-tokens 600 --max-program-tokens "$(real_or 512 24)" --top-p 0.95 --rows 128)   # top-p not stated [ours, CodeRL's]; rows: ours
SAMPLES=$(real_or 256 2)                                        # [paper]
VALUE=(--updates "$(real_or 18000 "$DRY")" --learning-rate 1e-5) # constant [paper]
# 128 programs and as many references: 8,500 tokens are about 32 programs with their prompts, and as many references come on top
VALUE+=(--batch-tokens "$(real_or $((GPUS > 4 ? 34000 / GPUS : 8500)) 500)" --accumulate "$(real_or $((4 / GPUS > 0 ? 4 / GPUS : 1)) 1)")   # 256 in all [paper]
TUNE=(--updates "$(real_or 10000 "$DRY")" --learning-rate 3e-5)  # falls linearly to 0, no warm-up [paper]
TUNE+=(--batch-tokens "$(real_or $((GPUS > 2 ? 17000 / GPUS : 8500)) 500)" --accumulate "$(real_or $((2 / GPUS > 0 ? 2 / GPUS : 1)) 1)")    # 128 in all [paper]
WEIGHTS=(--advantage-weight 0.1 --ce-weight 0.5)                # [paper]
LEARNING=(--real-share 0.5 --weight-decay 0.05)                 # [paper]
RANKED=$(real_or "${RANKED:-256}" 3)                            # m for k = 1 and 5 [paper]; filtered ones 1000 at T 0.4: RANKED=1000 TEMPERATURE=0.4
KS=(${KS:-1 5})                                                 # of the ranked tables [paper: 1, 5, and 1000 of m = 2500]
TEMPERATURE=${TEMPERATURE:-0.6}                                 # [paper, of the ranked rows]
SEED=${SEED:-0}

# ---- 1. problems; 256 programs of the checkpoint for each (their temperature is not stated [ours: 0.6]); verdicts
coderl problems apps --source "$APPS_TRAIN" --out "$OUT/train.jsonl"
coderl problems apps --source "$APPS_TEST" --out "$OUT/test.jsonl"
if dry; then pick first "$DRY" "$OUT/train.jsonl"; pick first 1 "$OUT/test.jsonl"; fi
write_programs "$OUT/train.jsonl" "$OUT/s.jsonl" --model "$CHECKPOINT" -n "$SAMPLES" --temperature 0.6 "${WRITING[@]}" --seed "$SEED"
with_references "$OUT/train.jsonl" "$OUT/s.jsonl"
judge "$OUT/train.jsonl" "$OUT/s.jsonl" "$OUT/v.jsonl" --stop-at-first-failure
FILES=(--problems "$OUT/train.jsonl" --programs "$OUT/s.jsonl" --verdicts "$OUT/v.jsonl" --references "$OUT/train.jsonl")

# ---- 2. values of the frozen checkpoint (eq. 12), then fine-tuning (eq. 15 and 17)
train bcoder value --model "$CHECKPOINT" "${FILES[@]}" --out "$OUT/value" "${VALUE[@]}" "${LEARNING[@]}" "${LIMITS[@]}" --seed "$SEED"
train bcoder finetune --model "$OUT/value/model" "${FILES[@]}" --out "$OUT/bcoder" "${TUNE[@]}" "${WEIGHTS[@]}" "${LEARNING[@]}" "${LIMITS[@]}" --seed "$SEED"

# ---- 3. candidates of B-Coder and of the checkpoint for the test problems, verdicts, scores, ranked and filtered top-k
for name in bcoder checkpoint; do
  model=$OUT/bcoder/model; [ "$name" = checkpoint ] && model=$CHECKPOINT
  TO=$OUT/test-$name-$RANKED-T$TEMPERATURE
  write_programs "$OUT/test.jsonl" "$TO-s.jsonl" --model "$model" -n "$RANKED" --temperature "$TEMPERATURE" "${WRITING[@]}" --seed $((SEED + 1))
  judge "$OUT/test.jsonl" "$TO-s.jsonl" "$TO-v.jsonl" --stop-at-first-failure
  judge_examples "$OUT/test.jsonl" "$TO-s.jsonl" "$TO-e.jsonl"
  coderl evaluate --problems "$OUT/test.jsonl" --verdicts "$TO-v.jsonl" --examples "$TO-e.jsonl" --k 1 $(real_or "5 50 100" 2) --out "$TO.json" --name "$name, unranked"
  coderl bcoder rank --model "$OUT/bcoder/model" --problems "$OUT/test.jsonl" --programs "$TO-s.jsonl" --verdicts "$TO-v.jsonl" --out "$TO-r.jsonl" "${LIMITS[@]}"
  call "$PYTHON" "$ROOT/runs/ranked_table.py" "$OUT/test.jsonl" "$TO-s.jsonl" "$TO-v.jsonl" "$TO-e.jsonl" "$TO-r.jsonl" "${KS[@]}"
done
finish
