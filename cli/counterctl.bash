# shellcheck shell=bash
# Completion of counterctl for bash, and for zsh after `autoload -U bashcompinit; bashcompinit`:
# its commands and options, as --help tells them, and the names of counters.

_counterctl() {
  local line=${COMP_LINE:0:$COMP_POINT} help commands word previous='' command='' proposed
  local word_at_cursor=${line##*[[:space:]=]}
  help=$(counterctl --help 2>/dev/null)
  commands=$(sed -n '/^Subcommands:/,/^$/ s/^  \([a-z]*\) .*/\1/p' <<<"$help")
  for word in ${line%"$word_at_cursor"}; do
    if [[ $previous == --server ]]; then local -x COUNTERCTL_SERVER=$word; fi
    if [[ $word == --server=* ]]; then local -x COUNTERCTL_SERVER=${word#*=}; fi
    previous=$word
    if [[ -z $command && $'\n'$commands$'\n' == *$'\n'"$word"$'\n'* ]]; then command=$word; fi
  done
  if [[ $word_at_cursor == -* ]]; then
    if [[ -n $command ]]; then help+=$'\n'$(counterctl "$command" --help 2>/dev/null); fi
    proposed=$(grep -oE '^  [^ ]+' <<<"$help" | grep -oE -- '--?[a-z-]+')
  elif [[ -z $command ]]; then
    proposed=$commands
  elif counterctl "$command" --help 2>/dev/null | grep -qE '^  names? NAME'; then
    proposed=$(counterctl --timeout 2s list --limit 200 --prefix "$word_at_cursor" 2>/dev/null |
      cut -f 1)
  fi
  # shellcheck disable=SC2207 # zsh has no mapfile, and no name or option holds a space or a wildcard
  COMPREPLY=($(compgen -W "$proposed" -- "$word_at_cursor"))
  # Bash replaces what stands behind the last colon only.
  if [[ $COMP_WORDBREAKS == *:* ]]; then
    COMPREPLY=("${COMPREPLY[@]#"${word_at_cursor%"${word_at_cursor##*:}"}"}")
  fi
}
complete -o bashdefault -o default -F _counterctl counterctl
