package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

const (
	// defaultLimit is how many items a list shows.
	defaultLimit = 100
	// pageMax is how many items one call returns at most.
	pageMax = 1000
)

// pages calls next, which fetches a page of at most size items and says how many
// came and whether more are there, until limit items are fetched; 0 is no limit.
func pages(limit int, next func(size int32) (got int, more bool, err error)) error {
	if limit < 0 {
		return usageErrorf("--limit %d: give 0 for all, or more", limit)
	}
	for fetched := 0; ; {
		size := pageMax
		if limit > 0 {
			size = min(limit-fetched, pageMax)
		}
		got, more, err := next(int32(size))
		if err != nil {
			return err
		}
		fetched += got
		if !more || limit > 0 && fetched >= limit {
			return nil
		}
	}
}

// noteMore says that a list was cut.
func (a *app) noteMore(token, what string) {
	if token != "" {
		fmt.Fprintf(a.err, "raft-node: there are more %s: give a higher --limit, or --limit 0 for all\n", what)
	}
}

// statusWords are the names of an enum's values, as the user writes them.
func statusWords(names map[int32]string, prefix string) []string {
	var words []string
	for _, i := range slices.Sorted(maps.Keys(names)) {
		if i != 0 {
			words = append(words, strings.ToLower(strings.TrimPrefix(names[i], prefix)))
		}
	}
	return words
}

// parseStatuses reads names of an enum's values, in capitals or not.
func parseStatuses(given []string, values map[string]int32, prefix string) ([]int32, error) {
	var out []int32
	for _, g := range given {
		v := values[prefix+strings.ToUpper(strings.TrimSpace(g))]
		if v == 0 {
			names := make(map[int32]string, len(values))
			for name, i := range values {
				names[i] = name
			}
			return nil, usageErrorf("--status %q: give %s", g, strings.Join(statusWords(names, prefix), ", "))
		}
		out = append(out, v)
	}
	return out, nil
}
