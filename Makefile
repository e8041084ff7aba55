# A thin layer over CMake's presets, for people. Those who package use CMake directly: docs/BUILD.md.
#
#   make demo      set up, build, fetch a small model, generate text
#   make test      set up, build, run the tests (under 15 minutes)
#   make test-all  the same with the long parts and the 1.1 GB model
#   make           set up and build

.PHONY: all setup demo test test-all bench install format clean

PROMPT ?= Explain in three sentences why the sky is blue.
PREFIX ?= /usr/local

all: build/build.ninja
	@cmake --build --preset release

# Configured once; the build itself notices new and changed files.
build/build.ninja: | setup
	@cmake --preset release > /dev/null

setup:
	@tools/setup

demo: build/build.ninja
	@cmake --build --preset release --target mlxn_program
	@tools/demo "$(PROMPT)"

test: setup
	@tools/run-tests

test-all:
	@tools/setup --browser
	@tools/run-tests --all

bench: all
	@build/mlxn bench -m "$$(tools/get-model smollm2)"

install: all
	@cmake --install build --prefix "$(PREFIX)"

format:
	@clang-format -i $$(git ls-files '*.c' '*.h' | grep -v '^include/mlxn/ops.h$$')

clean:
	@rm -rf build build-debug build-asan build-tsan
