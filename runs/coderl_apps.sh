#!/usr/bin/env bash
# CodeRL on APPS with CodeT5-770M: the numbers of its Tables 1, 2 (rows A-D), 3 and 4, except for beam search, which coderl does not have.
# What it costs: python runs/costs.py coderl_apps. How to read the results: docs/reproduce.md. Options: recipe.sh.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
begin runs/work/coderl_apps
VARIANTS=${VARIANTS:-D}                                 # rows of Table 2; step 7 goes on from row D
for variant in $VARIANTS; do
  case $variant in A|B|C|D) ;; *) echo "$0: VARIANTS names $variant; there are A, B, C and D" >&2; exit 2 ;; esac
done
case $VARIANTS in *D*) ;; *) echo "$0: no D in VARIANTS: critic sampling (step 7) is left out" >&2 ;; esac

# ---- what has to be there
if dry; then APPS_TRAIN=$CODERL_DATA/apps/train APPS_TEST=$CODERL_DATA/apps/train CODET5=$OUT/tiny CODET5_SMALL=$OUT/tiny
else
  APPS=${APPS:-data/APPS}                               # as published: folders train/0000 ... and test/0000 ...
  APPS_TRAIN=$APPS/train APPS_TEST=$APPS/test
  CODET5=${CODET5:-models/codet5-large-ntp-py}          # Salesforce/codet5-large-ntp-py [paper 4.1; the script names codet5-large]
  CODET5_SMALL=${CODET5_SMALL:-models/codet5-small}     # critic [paper 3.3.1; the script has codet5-base]
fi

# ---- numbers
LIMITS=(--max-source-tokens 600 --max-program-tokens 512)      # [paper 4.2]
WRITING=(--max-source-tokens 600 --max-program-tokens "$(real_or 512 24)" --top-p 0.95 --temperature 0.6 --rows 128)  # [script: generate.py; rows: ours, memory]
SAMPLES=$(real_or 20 2)                                        # programs of a training problem [script: README, "on average 20"]
WARM=(--updates "$(real_or 16800 "$DRY")")                     # 10 epochs [paper 4.2] x 107,500 pairs of at most 512 tokens / 64
WARM+=(--learning-rate 2e-5 --warmup 0.03 --final-rate 0.5 --decay-power 0.5)  # 0 -> 2e-5 in 500 updates, power 0.5 to 1e-5 [paper 4.2]
WARM+=(--batch-tokens "$(real_or $((GPUS > 4 ? 21600 / GPUS : 5400)) 1000)" --accumulate "$(real_or $((4 / GPUS > 0 ? 4 / GPUS : 1)) 1)")     # about 64 pairs: 4 x (4 prompts of 530, 16 programs of 200) [paper: 64]
CRITIC=(--updates "$(real_or 31000 "$DRY")")                   # 10 epochs [script] x (90,000 samples + 107,500 references) / 64 [ours; script: batches of 8]
CRITIC+=(--learning-rate 2e-5 --warmup 0 --final-rate 1 --batch-tokens "$(real_or $((21600 / GPUS)) 2000)")  # constant [script]; 64 programs as above
RL=(--epochs "$(real_or 20 1)" --learning-rate 2e-6)           # [RLTF]; the paper gives none, and at the script's 2e-5 training degrades [author, issues 29 and 30]
RL+=(--batch-tokens "$(real_or 8500 1)" --accumulate "$(real_or $((8 / GPUS > 0 ? 8 / GPUS : 1)) 1)")          # about 256 samples in an update [author, issue 29; RLTF]
RL+=(--negative-weight 1 --no-scaled --reduction token-mean)   # weights as eq. 10 has them [paper]; mean over tokens [script]
DECAY=(--weight-decay 0.05 --checkpoint-every 500)             # [script; checkpoints: ours]
TESTED=$(real_or 1000 2)                                       # programs of a test problem [paper: pass@1000]
KS=(1 $(real_or "5 1000" 2))
SEED=${SEED:-0}

# ---- 1. problems, references checked in this judge, 5 % of the training problems held out to choose the actor by [ours]
coderl problems apps --source "$APPS_TRAIN" --out "$OUT/all.jsonl"
coderl problems apps --source "$APPS_TEST" --out "$OUT/test.jsonl"
if dry; then pick first $((DRY + 1)) "$OUT/all.jsonl"; pick first 1 "$OUT/test.jsonl"; fi
pick hold-out "$(real_or 20 $((DRY + 1)))" "$OUT/all.jsonl" "$OUT/train.jsonl" "$OUT/validation.jsonl"
# quarantine.jsonl is to read: the paper trains on all references, and so do the stages below, those of its problems included
coderl validate --problems "$OUT/train.jsonl" --out "$OUT/references.jsonl" --quarantine "$OUT/quarantine.jsonl"

# ---- 2. warm start (L_ce)
train warm-start --model "$CODET5" --problems "$OUT/train.jsonl" --out "$OUT/warm" "${WARM[@]}" "${DECAY[@]}" "${LIMITS[@]}" --seed "$SEED"
ACTOR=$OUT/warm/actor

# ---- 3. programs of the frozen actor for the training problems, its greedy ones, verdicts
write_programs "$OUT/train.jsonl" "$OUT/s.jsonl" --model "$ACTOR" -n "$SAMPLES" "${WRITING[@]}" --seed "$SEED"
write_programs "$OUT/train.jsonl" "$OUT/g.jsonl" --model "$ACTOR" "${WRITING[@]}" --temperature 0
with_references "$OUT/train.jsonl" "$OUT/s.jsonl"
judge "$OUT/train.jsonl" "$OUT/s.jsonl" "$OUT/v.jsonl" --stop-at-first-failure
judge "$OUT/train.jsonl" "$OUT/g.jsonl" "$OUT/gv.jsonl" --stop-at-first-failure
JUDGED=(--problems "$OUT/train.jsonl" --programs "$OUT/s.jsonl" --verdicts "$OUT/v.jsonl")

# ---- 4. critic (eq. 9) and token values
train train-critic --model "$CODET5_SMALL" "${JUDGED[@]}" --references "$OUT/train.jsonl" --out "$OUT/critic" "${CRITIC[@]}" "${DECAY[@]}" "${LIMITS[@]}" --seed "$SEED"
coderl score --critic "$OUT/critic/critic" "${JUDGED[@]}" --out "$OUT/t.jsonl" "${LIMITS[@]}"

# ---- 5. fine-tuning, L_ce + L_rl (eq. 10): row D of Table 2. VARIANTS="A B C D" makes all four rows
for variant in $VARIANTS; do
  FILES=(--baseline "$OUT/gv.jsonl" --scores "$OUT/t.jsonl" --references "$OUT/train.jsonl" --validation "$OUT/validation.jsonl")
  train finetune coderl --variant "$variant" --model "$ACTOR" "${JUDGED[@]}" "${FILES[@]}" --out "$OUT/coderl-$variant" "${RL[@]}" "${DECAY[@]}" "${LIMITS[@]}" --seed "$SEED"
done

# ---- 6. test: pass@k of plain samples (Table 1 without critic sampling), n@k with the example tests
for name in warm $VARIANTS; do
  model=$OUT/coderl-$name/actor; [ "$name" = warm ] && model=$ACTOR
  TO=$OUT/test-$name
  write_programs "$OUT/test.jsonl" "$TO-s.jsonl" --model "$model" -n "$TESTED" "${WRITING[@]}" --seed $((SEED + 1))
  judge "$OUT/test.jsonl" "$TO-s.jsonl" "$TO-v.jsonl" --stop-at-first-failure
  judge_examples "$OUT/test.jsonl" "$TO-s.jsonl" "$TO-e.jsonl"
  coderl evaluate --problems "$OUT/test.jsonl" --verdicts "$TO-v.jsonl" --examples "$TO-e.jsonl" --k "${KS[@]}" --out "$TO.json" --name "$name"
done

# ---- 7. critic sampling (Tables 1 and 4): binary critic, repair model, one round of refining or of repair with M = 1 [paper 3.3.4]
if [[ $VARIANTS = *D* ]]; then
  train train-critic --outcomes 2 --model "$CODET5_SMALL" "${JUDGED[@]}" --references "$OUT/train.jsonl" --out "$OUT/critic2" "${CRITIC[@]}" "${DECAY[@]}" "${LIMITS[@]}" --seed "$SEED"
  # 64 pairs, none of which share a prompt: 8 x 7,000 tokens, 690 to read and 190 to write in each
  # the repair model's start, updates and rate are not published [ours: the warm start, 3 epochs of 100,000 pairs / 64, the warm start's rate]
  REPAIR=(--updates "$(real_or 4700 "$DRY")" --learning-rate 2e-5 --batch-tokens "$(real_or 7000 2000)" --accumulate "$(real_or $((8 / GPUS)) 1)" --max-source-tokens 1200 --max-program-tokens 512)
  train train-repair --model "$ACTOR" "${JUDGED[@]}" --out "$OUT/repair" "${REPAIR[@]}" "${DECAY[@]}" --seed "$SEED"
  # N = 1000: with the paper's N = 200 there would be no pass@1000 [ours; docs/algorithms/critic-sampling.md, point c]
  FOUND=(--critic "$OUT/critic2/critic" --repair "$OUT/repair/actor" -n "$TESTED" --repaired 1 --max-repair-tokens 1200)
  coderl critic-sample --model "$OUT/coderl-D/actor" --problems "$OUT/test.jsonl" "${FOUND[@]}" "${WRITING[@]}" --workers "$(real_or "${SEARCHERS:-4}" 1)" --out "$OUT/search" --seed $((SEED + 1))
  judge "$OUT/test.jsonl" "$OUT/search/final.jsonl" "$OUT/search-v.jsonl" --stop-at-first-failure
  judge_examples "$OUT/test.jsonl" "$OUT/search/final.jsonl" "$OUT/search-e.jsonl"
  coderl evaluate --problems "$OUT/test.jsonl" --verdicts "$OUT/search-v.jsonl" --examples "$OUT/search-e.jsonl" --ranked "$OUT/search/ranked.jsonl" --k "${KS[@]}" --out "$OUT/search.json" --name "critic sampling"
fi
finish
