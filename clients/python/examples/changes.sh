#!/bin/sh
# Prints the changes that there are, as JSON, with kcat: changes.sh SERVERS TOPIC
exec kcat -C -b "$1" -t "$2" -o beginning -e -q -X isolation.level=read_committed
