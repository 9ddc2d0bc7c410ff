package main

import "io"

func judgeGate(name string, tables []table, progress io.Writer) error { return nil }
