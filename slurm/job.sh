# shellcheck shell=bash
# What the jobs have in common: processes on all nodes, signals that reach them, and going on after an interruption.
#
# Sourced by the templates, never edited for a site: that is site.sh. In the order of use: begin, run_on_all, go_on.

# From the first line to the last a warning is noted, since USR1 by itself would end this shell, and fail the job.
warned=""
trap 'warned=1' USR1

stop() {
    echo "aedist job: $1" >&2
    exit 2
}

say() { echo "aedist job: $1"; }

# begin WORDS...: read the site's settings, look at what SLURM gave, and put the words of the command into `words`,
# %a replaced by the number of the array task, and @FILE by the line of FILE with that number, whatever ends it.
begin() {
    local word line
    [[ -f slurm/site.sh ]] || stop "no slurm/site.sh in $PWD; submit from the root of the checkout, or sbatch --chdir it"
    set +u # the functions and scripts of module and conda read what is not set
    # shellcheck source=site.sh
    source slurm/site.sh
    set -u
    if [[ -z ${python:-} ]]; then
        [[ -x $environment/bin/python ]] ||
            stop "$environment/bin/python is missing; make it with launch/environment.sh, or set AEDIST_ENVIRONMENT"
        environment=$(cd -- "$environment" && pwd)
        export PATH="$environment/bin:$PATH"
        python=$environment/bin/python
    fi
    restarts=${SLURM_RESTART_COUNT:-0}
    array_task=${SLURM_ARRAY_TASK_ID:-}
    words=()
    for word in "$@"; do
        if [[ $word == @* ]]; then
            [[ -n $array_task ]] || stop "$word: goes with sbatch --array=1-N, which names its line for each task"
            line=$(sed -n "${array_task}p" -- "${word#@}") && [[ -n $line ]] ||
                stop "$word: has no line $array_task; write one for each number of --array"
            read -ra line <<<"${line%$'\r'}"
            words+=("${line[@]//%a/$array_task}")
        else
            [[ -n $array_task || $word != *%a* ]] || stop "$word: %a is the number of an array's task; submit with --array=0-N"
            words+=("${word//%a/$array_task}")
        fi
    done

    # What was asked for, such as 4, a100:4, or a100, which is one of them, or several with commas: an exclusive job owns
    # the node's other GPUs too, but does not see them.
    gpus_per_node=0
    for word in $(tr , ' ' <<<"${SLURM_GPUS_PER_NODE:-${SLURM_GPUS_ON_NODE:-0}}"); do
        word=${word##*:}
        [[ $word =~ ^[0-9]+$ ]] || word=1
        gpus_per_node=$((gpus_per_node + word))
    done
    tasks_per_node=${AEDIST_TASKS_PER_NODE:-$((gpus_per_node > 0 ? gpus_per_node : 1))}
    cpus_per_task=$((SLURM_CPUS_ON_NODE / tasks_per_node))
    ((cpus_per_task > 0)) ||
        stop "$SLURM_CPUS_ON_NODE CPUs on a node for $tasks_per_node tasks; ask for more CPUs, or fewer tasks"
    export OMP_NUM_THREADS=$cpus_per_task
    say "job $SLURM_JOB_ID${array_task:+ (array $SLURM_ARRAY_JOB_ID, task $array_task)}: $SLURM_JOB_NUM_NODES nodes x $(
    )$tasks_per_node tasks x $cpus_per_task CPUs, start $((restarts + 1)) on $SLURM_JOB_NODELIST at $(date)"
    if ((restarts > max_restarts)); then # SLURM itself starts a job again that lost a node or was preempted
        stop "started again $restarts times, and the bound is $max_restarts; see above what stops it, then submit again"
    fi
}

# run_on_all VERB WORDS...: the command on all nodes, one task a process; its exit code comes into `code`.
# bash runs a trap only between commands, and at once only during `wait`: hence srun in the background. The signal
# goes to the processes of the step, not to srun, which ends its tasks unsaved on some signals.
run_on_all() {
    local step="" woken
    local options=(
        --nodes="$SLURM_JOB_NUM_NODES" --distribution=block --kill-on-bad-exit=1 --export=ALL
        ${srun_options[@]+"${srun_options[@]}"}
    )
    [[ $(scontrol show config 2>/dev/null) != *task/affinity* ]] || options+=(--cpu-bind=cores)
    # where not even a node that lives can be asked (a firewall), silence later tells nothing
    nodes_answer=1
    answers "$(nodes_of_job | tail -n 1)" || nodes_answer=""
    ended=""
    trap 'warned=1 woken=1; [[ -z $step ]] || warn' USR1
    trap 'ended=1 woken=1' TERM
    if [[ ${AEDIST_LAUNCHER:-} == accelerate ]]; then
        options+=(--ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1)
        options+=(--cpus-per-task=$((cpus_per_task * tasks_per_node)))
        srun "${options[@]}" ${inside[@]+"${inside[@]}"} bash slurm/accelerate.sh \
            "$tasks_per_node" "$gpus_per_node" "$(nodes_of_job | head -n 1)" "$(free_port)" "$@" &
    else
        # both, as srun would else take the number of all tasks from what sbatch was told
        options+=(--ntasks=$((SLURM_JOB_NUM_NODES * tasks_per_node)) --ntasks-per-node="$tasks_per_node")
        options+=(--cpus-per-task="$cpus_per_task")
        srun "${options[@]}" ${inside[@]+"${inside[@]}"} "$python" -m aedist "$@" &
    fi
    step=$!
    [[ -z $warned ]] || warn
    while
        woken="" code=0
        wait "$step" || code=$?
        [[ -n $woken ]]
    do :; done
    trap 'warned=1' USR1
}

# The step may not have begun when srun has: it is told as soon as it is there.
warn() {
    say "warned (of the time limit, or to make room), asking the processes to save and stop"
    until scancel --signal=USR1 "$SLURM_JOB_ID.0"; do
        kill -0 "$step" 2>/dev/null || break
        sleep 1
    done
}

# A port of this node, rank zero's, that nobody listens on; only the launcher needs one, aedist itself finds its own.
free_port() {
    local port=$((20000 + (SLURM_JOB_ID + 7 * restarts) % 10000))
    while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        port=$((20000 + (port + 617) % 10000))
    done
    echo "$port"
}

# go_on: end the job, or have it started again where the run has more to do. 75 is "saved, start me again". After a
# warning any other failure than a mistake of the user's is taken for it too: the first task to leave makes SLURM end
# the others, whose exit code may then be that of the signal. Whom SLURM itself ends (scancel, scontrol requeue, the end
# of a preempted job's grace) asks for nothing: SLURM has decided.
go_on() {
    local dead
    if [[ -z $ended && $code != 0 && $code != 2 && $code != 75 && -z $warned && -n $nodes_answer ]]; then
        dead=$(nodes_that_do_not_answer)
        if [[ -n $dead ]]; then
            await_slurm "$dead"
            code=75
        fi
    fi
    if [[ -z $ended ]] && ((code == 75)) || [[ -z $ended && -n $warned && $code != 0 && $code != 2 ]]; then
        start_again
    fi
    say "ended with exit code $code at $(date)"
    exit "$code"
}

start_again() {
    if ((restarts >= max_restarts)); then
        echo "aedist job: stopped with exit code $code after $restarts restarts, which is the bound; submit again" >&2
    elif is_running && scontrol requeue "$SLURM_JOB_ID"; then
        say "exit code $code, requeued (restart $((restarts + 1)) of at most $max_restarts)"
        exit 0
    else
        echo "aedist job: exit code $code, could not be requeued; submit the same command again" >&2
    fi
}

is_running() { [[ $(scontrol -o show job "$SLURM_JOB_ID" 2>/dev/null) == *JobState=RUNNING* ]]; }

setting() { scontrol show config 2>/dev/null | sed -n "s/^$1 *= *\([0-9]*\).*/\1/p"; }

nodes_of_job() { scontrol show hostnames "$SLURM_JOB_NODELIST"; }

# The nodes of the job whose slurmd cannot be reached: lost power, or their cable. Processes of theirs that are missed
# end a run as a fault does, and this tells one from the other.
nodes_that_do_not_answer() {
    local node found=()
    for node in $(nodes_of_job); do
        answers "$node" || found+=("$node")
    done
    echo "${found[*]-}"
}

answers() {
    local port
    port=$(setting SlurmdPort)
    timeout 5 bash -c "exec 3<>/dev/tcp/$1/${port:-6818}" 2>/dev/null
}

# SLURM finds a dead node after SlurmdTimeout, takes it out, and starts the job again on others. A job that asked for
# it at once could be given the dead node again.
await_slurm() {
    local patience=$((2 * $(setting SlurmdTimeout) + 60))
    say "no answer from $1; waiting up to $patience s for SLURM to take it out and start this job again"
    while ((patience-- > 0)) && [[ -z $ended && -z $warned ]]; do
        sleep 1 &
        wait $! || true
    done
}
