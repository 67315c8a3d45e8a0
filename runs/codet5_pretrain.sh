#!/usr/bin/env bash
# CodeT5-770M from nothing, as CodeRL section 4.1 has it: masked spans on CodeSearchNet, masked spans and then next tokens on GitHub's Python (its
# Table 5). What it costs: python runs/costs.py codet5_pretrain. How to read the results: docs/reproduce.md. Options: recipe.sh.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
begin runs/work/codet5_pretrain

if dry; then TOKENIZER=$OUT/tiny CSN=$OUT/code.jsonl GITHUB=$OUT/code.jsonl
else
  TOKENIZER=${TOKENIZER:-models/codet5-base}             # CodeT5's vocabulary: 32,000 entries and 100 sentinels [paper 4.1]
  CSN=${CSN:-data/codesearchnet}                         # six languages, parquet or JSON Lines [paper 4.1]
  GITHUB=${GITHUB:-data/github-code-python}              # parquet of codeparrot/github-code (the paper's name: lvwerra/github-code), Python [paper 4.1]
fi

# ---- numbers
SHAPE=(--width "$(real_or 1024 16)" --layers "$(real_or 24 1)" --heads "$(real_or 16 2)" --feed-forward "$(real_or 4096 32)" --dropout 0.1)  # T5-large [paper 4.1]
share() { echo $(($1 / GPUS > 0 ? $1 / GPUS : 1)); }
how_long() { if dry; then echo --updates "$DRY"; else echo --epochs "$1"; fi; }
SPANS=(--rate 0.15 --block-tokens "$(real_or 512 128)" --learning-rate 2e-4 --weight-decay 0.05 --final-rate 0)   # [paper 4.1; spans of 1 to 5: CodeT5]
SPANS+=(--batch "$(real_or 32 4)" --accumulate "$(real_or "$(share 64)" 1)" --checkpoint-every 1000)  # 2,048 blocks [paper 4.1]; checkpoints: ours
NEXT=(--max-source-tokens 768 --max-target-tokens 600 --learning-rate 1e-4 --weight-decay 0.05 --final-rate 0)     # [paper 4.1]
NEXT+=(--batch "$(real_or 16 4)" --accumulate "$(real_or "$(share 16)" 1)" --checkpoint-every 1000)   # 256 documents [paper 4.1]; checkpoints: ours
EPOCHS_CSN=150 EPOCHS_GITHUB=10                          # [paper 4.1]
# 1,000 updates of warm-up [paper 4.1], as shares of 157,000 (150 x 1.1e9 tokens / 512 / 2,048), 100,000 and about 400,000 updates
WARMUP_CSN=0.0064 WARMUP_GITHUB=0.01 WARMUP_NEXT=0.0025  # [paper 4.1]
LICENCES=(--licences mit apache-2.0 apache-2 bsd-3-clause bsd-2-clause cc0-1.0 unlicense isc)  # [paper 4.1]
NEAR=${NEAR:-0.85}                                       # near duplicates are left out [ours; the paper states no filter but licences: NEAR=0]
SEED=${SEED:-0}

# ---- 1. corpora and their tokens. CodeSearchNet's rows say no licence
if dry; then
  coderl problems apps --source "$CODERL_DATA/apps/train" --out "$OUT/problems.jsonl"
  pick first 20 "$OUT/problems.jsonl"
  pick corpus "$OUT/problems.jsonl" "$OUT/code.jsonl"
fi
coderl corpus collect --sources "$CSN" --out "$OUT/csn" "${LICENCES[@]}" unknown --near "$NEAR"
coderl corpus collect --sources "$GITHUB" --out "$OUT/github" "${LICENCES[@]}" --languages Python --near "$NEAR"
for name in csn github; do
  coderl corpus encode --corpus "$OUT/$name/documents.jsonl" --tokenizer "$TOKENIZER" --out "$OUT/$name-tokens"
done

# ---- 2. the model, and its three stages, one after the other [paper 4.1]. Stage 1 alone is Salesforce/codet5-large, all three are -ntp-py
coderl new-model --tokenizer "$TOKENIZER" "${SHAPE[@]}" --out "$OUT/fresh" --seed "$SEED"
train pretrain spans --model "$OUT/fresh/actor" --tokens "$OUT/csn-tokens" --out "$OUT/spans-csn" $(how_long $EPOCHS_CSN) --warmup $WARMUP_CSN "${SPANS[@]}" --seed "$SEED"
train pretrain spans --model "$OUT/spans-csn/actor" --tokens "$OUT/github-tokens" --out "$OUT/spans-github" $(how_long $EPOCHS_GITHUB) --warmup $WARMUP_GITHUB "${SPANS[@]}" --seed "$SEED"
train pretrain next --model "$OUT/spans-github/actor" --tokens "$OUT/github-tokens" --out "$OUT/next-github" $(how_long $EPOCHS_GITHUB) --warmup $WARMUP_NEXT "${NEXT[@]}" --seed "$SEED"
finish
