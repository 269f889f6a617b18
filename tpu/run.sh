#!/usr/bin/env bash
# Runs a recipe on a TPU VM, in a tmux session there, so that it survives the disconnection, and follows its log.
# The same command again follows the run that is still going, or resumes it from its last checkpoint.
#
# usage: tpu/run.sh RECIPE --name=NAME --zone=ZONE --project=PROJECT [options] [-- --flag=value ...]
#
#   RECIPE                    a file of flags/ without its .flags
#   --name --zone --project   the TPU VM (or TPU_NAME, TPU_ZONE, TPU_PROJECT in the environment)
#   --dataset=NAME            as main.py takes it, such as imagenet_tfrecord:gs://BUCKET/FOLDER (default: the recipe's)
#   --model_dir=DIR           run directory on the VM, in ~/autonl-tf (default runs/RECIPE); its log is DIR.log
#   --detach                  do not follow the log
#   --dry-run                 print the commands and run nothing
#   --help                    this text
#   -- --flag=value ...       more flags for main.py; they come after the recipe's, so they win
set -euo pipefail

# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

recipe=
model_dir=
dataset=
follow=true
more=()
while [[ $# -gt 0 ]]; do
  take_common_option "$@"
  if [[ $SHIFTED -gt 0 ]]; then
    shift "$SHIFTED"
    continue
  fi
  case $1 in
    --model_dir=?*) model_dir=${1#*=} ;;
    --dataset=?*) dataset=${1#*=} ;;
    --detach) follow=false ;;
    --)
      shift
      more=("$@")
      break
      ;;
    -*) fail "unknown option '$1'; see --help" ;;
    *)
      [[ -z $recipe ]] || fail "two recipes, '$recipe' and '$1'; give one"
      recipe=$1
      ;;
  esac
  shift
done

known=
for file in flags/*.flags; do
  [[ -e $file ]] || continue
  file=${file#flags/}
  known+="${known:+, }${file%.flags}"
done
[[ -n $recipe ]] || fail "no recipe; accepted: ${known:-none}"
[[ $recipe =~ ^[a-z0-9_-]+$ && -f flags/$recipe.flags ]] || fail "no recipe '$recipe'; accepted: ${known:-none}"
model_dir=${model_dir:-runs/$recipe}
[[ $model_dir != *://* ]] || fail "--model_dir=$model_dir is not a path on the VM; copy the run to a bucket afterwards"
require_common

# $model_dir and the flags are quoted twice: once for the shell of tmux, once for the shell of ssh.
command=(.venv/bin/python main.py "--flagfile=flags/$recipe.flags" "--model_dir=$model_dir")
[[ -z $dataset ]] || command+=("--dataset=$dataset")
command+=(--tpu=local --strategy=tpu ${more[@]+"${more[@]}"})
printf -v inner '%q ' "${command[@]}"
printf -v log '%q' "$model_dir.log"
printf -v folder '%q' "$(dirname "$model_dir")"
inner+=">> $log 2>&1; echo \"exit code \$?\" >> $log"
printf -v inner '%q' "$inner"
session=autonl-$recipe

tpu ssh --worker=0 --command="cd autonl-tf && mkdir -p $folder && { tmux has-session -t =$session 2> /dev/null || tmux new-session -d -s $session $inner; }"
$DRY_RUN || echo "$recipe runs in the tmux session $session of $TPU_NAME; its log there is autonl-tf/$model_dir.log"
if $follow; then
  $DRY_RUN || echo "following the log; Ctrl-C stops following, not the run"
  tpu ssh --worker=0 --command="cd autonl-tf && sleep 2 && if pid=\$(tmux list-panes -t =$session: -F '#{pane_pid}' 2> /dev/null); then tail -n 50 -F --pid=\$pid $log; else tail -n 50 $log; fi"
fi
