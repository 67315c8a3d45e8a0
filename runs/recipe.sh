# What the recipes at paper scale share; they source it. Settings come from the environment, each with its default in the recipe.
#
#   bash runs/NAME.sh                 run it; the same call goes on where a killed one stopped
#   bash runs/NAME.sh --print         the commands, and nothing else
#   bash runs/NAME.sh --dry-run N     the same commands, N steps of each training, on APPS problems from $CODERL_DATA with a tiny model of the
#                                     same shape, on the CPU (runs/dry_run.py)
#
# Sources of numbers: [paper] the paper, [script] its authors' released scripts, [author] their advice in the issues, [RLTF] RLTF's script for
# CodeRL's offline setting, [ours] chosen here because no source gives one.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHON=${PYTHON:-python}
DRY=0
PRINT=0
GIVEN_OUT=""
while [ $# -gt 0 ]; do
  case $1 in
    --dry-run) DRY=${2:?--dry-run needs a number of steps}; shift 2 ;;
    --print) PRINT=1; shift ;;
    --out) GIVEN_OUT=${2:?--out needs a folder}; shift 2 ;;
    *) echo "$0: $1 is no option; there are --dry-run N, --print, --out FOLDER" >&2; exit 2 ;;
  esac
done
case $DRY in *[!0-9]*) echo "$0: --dry-run is $DRY; it must be a whole number" >&2; exit 2 ;; esac

dry() { [ "$DRY" -gt 0 ]; }
real_or() { if dry; then echo "$2"; else echo "$1"; fi; }   # real_or REAL DRY
note() { printf '%q ' "$@"; echo; }

begin() {  # begin FOLDER: where everything goes
  OUT=${GIVEN_OUT:-${OUT:-$1}}
  GPUS=$(real_or "${GPUS:-1}" 1)
  case $GPUS in 1|2|4|8) ;; *) echo "$0: GPUS is $GPUS; it must be 1, 2, 4 or 8, which divide the batches of the paper" >&2; exit 2 ;; esac
  if dry; then
    : "${CODERL_DATA:?--dry-run reads APPS problems and the tokenizer of CodeT5 from the folder that CODERL_DATA names}"
    mkdir -p "$OUT"
    COMMANDS=$OUT/commands.txt
    : > "$COMMANDS"
    note tiny-codet5 "$OUT/tiny" "$CODERL_DATA/codet5_tokenizer" >> "$COMMANDS"
  elif [ "$PRINT" = 0 ]; then
    mkdir -p "$OUT"
  fi
}

call() {  # a command: run, printed, or kept for the dry run
  if dry; then note "$@" >> "$COMMANDS"
  elif [ "$PRINT" = 1 ]; then note "$@"
  elif [ "$1" = coderl ]; then shift; echo "+ coderl $*" >&2; "$PYTHON" -m coderl "$@"
  else echo "+ $*" >&2; "$@"; fi
}

coderl() { call coderl "$@"; }
pick() { call "$PYTHON" "$ROOT/runs/pick.py" "$@"; }

train() {  # a training stage, on all GPUs
  if [ "$GPUS" -gt 1 ]; then call accelerate launch --multi_gpu --num_processes "$GPUS" -m coderl "$@"; else coderl "$@"; fi
}

PARTS=8  # that problems are dealt into for several GPUs, whatever their number, so that a resume with another number goes on with the same parts
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT  # Ctrl-C does not reach what runs in the background

write_programs() {  # write_programs PROBLEMS PROGRAMS [sample's flags]: a part of the problems on each GPU at a time
  local problems=$1 programs=$2; shift 2
  if dry; then set -- "$@" --workers 1; fi
  # a file that is there is whole, or was begun on one GPU: one process writes what it lacks
  if [ "$GPUS" = 1 ] || [ "$PRINT" = 1 ] || [ -e "$programs" ]; then coderl sample --problems "$problems" --out "$programs" "$@"; return; fi
  local parts=$programs.parts first part each failed=0
  local -a writers whole=()
  mkdir -p "$parts"
  "$PYTHON" "$ROOT/runs/pick.py" deal "$PARTS" "$problems" "$parts"
  for ((first = 0; first < PARTS; first += GPUS)); do
    writers=()
    for ((each = 0; each < GPUS; each++)); do
      part=$((first + each))
      whole+=("$parts/programs-$part.jsonl")
      CUDA_VISIBLE_DEVICES=$each "$PYTHON" -m coderl sample --problems "$parts/problems-$part.jsonl" --out "${whole[-1]}" "$@" &
      writers+=($!)
    done
    for each in "${writers[@]}"; do wait "$each" || failed=1; done
    if [ "$failed" = 1 ]; then echo "$0: a process that wrote $programs has failed, see above; the same call goes on from here" >&2; exit 1; fi
  done
  cat "${whole[@]}" > "$programs.new"
  mv "$programs.new" "$programs"
}

judge() {  # judge PROBLEMS PROGRAMS VERDICTS [grade's flags]
  local problems=$1 programs=$2 verdicts=$3; shift 3
  coderl grade --problems "$problems" --programs "$programs" --out "$verdicts" --workers "${WORKERS:-$(nproc)}" "$@"
}

judge_examples() {  # judge_examples PROBLEMS PROGRAMS VERDICTS: on the example tests, where a problem has any
  pick with-examples "$1" "$2" "${2%.jsonl}-shown.jsonl"
  judge "$1" "${2%.jsonl}-shown.jsonl" "$3" --stop-at-first-failure --tests example
}

with_references() {  # dry runs only: a tiny model's programs teach nothing, so that some references are put beside them
  if dry; then pick references "$1" "$2"; fi
}

finish() {
  if dry && [ "$PRINT" = 0 ]; then "$PYTHON" "$ROOT/runs/dry_run.py" "$COMMANDS"; fi
  if dry && [ "$PRINT" = 1 ]; then cat "$COMMANDS"; fi
}
