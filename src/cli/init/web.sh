#!/bin/sh
# Put your program here.
echo hello
