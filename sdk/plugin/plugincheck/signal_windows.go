package main

import "os"

var terminate = os.Kill

func running(int) bool { return false }
