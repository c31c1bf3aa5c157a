# Completions of reveille for fish.
complete --command reveille --no-files --keep-order --arguments "(REVEILLE_COMPLETE=fish command reveille -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token --cut-at-cursor) 2>/dev/null)"
