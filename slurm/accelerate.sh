#!/bin/bash
# One node's part of a job under `accelerate launch`, started by srun once a node: AEDIST_LAUNCHER=accelerate sbatch ...
#
#   accelerate.sh PROCESSES_A_NODE GPUS_A_NODE FIRST_NODE PORT VERB WORDS...
#
# A launcher between SLURM and the processes does not pass on USR1, and kills its processes after some seconds when it
# is told to end. So this script, which SLURM tells, tells the processes; and where they saved and stopped, it says 75
# to SLURM, which the launcher turns into 1.

set -euo pipefail
processes=$1 gpus=$2 main=$3 port=$4
shift 4

topology=launch/node.yaml
if ((gpus == 0)); then
    topology=launch/cpu.yaml
    export ACCELERATE_USE_CPU=true
fi
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=300 # seconds that processes have to save, where the launcher is told to end
export OMP_NUM_THREADS=$((SLURM_CPUS_PER_TASK / processes))

told=""
# The processes are the children of the launcher.
tell_processes() {
    told=1 woken=1
    local child
    for child in $(cat "/proc/$launcher/task/$launcher/children" 2>/dev/null); do
        kill -USR1 "$child" 2>/dev/null || true
    done
}
trap tell_processes USR1 TERM

(
    trap '' USR1
    exec accelerate launch --config_file "$topology" --num_machines "$SLURM_JOB_NUM_NODES" \
        --num_processes $((SLURM_JOB_NUM_NODES * processes)) --machine_rank "$SLURM_NODEID" \
        --main_process_ip "$main" --main_process_port "$port" -m aedist "$@"
) &
launcher=$!
while
    woken="" code=0
    wait "$launcher" || code=$?
    [[ -n $woken ]]
do :; done

if [[ -n $told ]] && ((code != 0)); then
    code=75
fi
exit "$code"
