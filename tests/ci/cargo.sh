#!/usr/bin/env bash
# Plays cargo for `.ci/run`, by what a test has put beside it: what to print, how to end, and from which try on a test passes.
play=$(dirname "$0")
echo "$*" >>"$play/calls"
ended() { [[ ! -f $play/$1.fails ]] || { cat "$play/$1.fails" && exit 101; }; }
case "$*" in
    fmt* | clippy* | agent*) ended "$1" ;;
    "test --no-run") ended build ;;
    "test --no-fail-fast"*)
        cat "$play/tests"
        [[ ! -f $play/hangs ]] || exec sleep 1000
        ! grep -q -e FAILED -e 'signal: ' "$play/tests" || exit 101
        ;;
    "test --"*" -- --exact "*)
        name=$5
        echo x >>"$play/tries.$name"
        passes=$(cat "$play/passes.$name" 2>/dev/null || echo never)
        [[ $passes == "$(wc -l <"$play/tries.$name")" ]] || exit 101
        echo "test result: ok. $(cat "$play/found.$name" 2>/dev/null || echo 1) passed; 0 failed; 0 ignored"
        ;;
    *) echo "not played: cargo $*" && exit 99 ;;
esac
