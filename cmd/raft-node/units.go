package main

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

var quantity = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)$`)

// memoryUnits are bytes per unit, in lower case.
var memoryUnits = map[string]int64{
	"": 1, "b": 1,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40, "pib": 1 << 50,
	"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40, "pi": 1 << 50,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "pb": 1e15,
}

// parseCPU reads cores, such as "0.5", as thousandths of a core.
func parseCPU(s string) (int64, error) {
	m := quantity.FindStringSubmatch(s)
	if m == nil || m[2] != "" {
		return 0, fmt.Errorf("%q: give cores as a number, such as 2 or 0.5", s)
	}
	millis, exact := scale(m[1], 1000)
	if !exact {
		return 0, fmt.Errorf("%q: give at most three decimals and at most 1000000 cores", s)
	}
	return millis, nil
}

// parseMemory reads an amount of memory, such as "512MiB", as bytes.
func parseMemory(s string) (int64, error) {
	m := quantity.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q: give a number with a unit, such as 512MiB or 2GiB", s)
	}
	unit, ok := memoryUnits[strings.ToLower(m[2])]
	if !ok {
		return 0, fmt.Errorf("%q: the unit must be KiB, MiB, GiB, TiB or PiB, KB, MB, GB, TB or PB, or B", s)
	}
	bytes, exact := scale(m[1], unit)
	if !exact {
		return 0, fmt.Errorf("%q: give a whole number of bytes, less than 8 EiB", s)
	}
	return bytes, nil
}

// scale multiplies a decimal number exactly.
func scale(number string, by int64) (int64, bool) {
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, false
	}
	r.Mul(r, new(big.Rat).SetInt64(by))
	return r.Num().Int64(), r.IsInt() && r.Num().IsInt64()
}

// cores writes thousandths of a core as cores.
func cores(millis int64) string {
	return strconv.FormatFloat(float64(millis)/1000, 'f', -1, 64)
}

// memory writes bytes in the largest unit that is not too coarse.
func memory(bytes int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	value, i := float64(bytes), 0
	for ; value >= 1024 && i < len(units)-1; i++ {
		value /= 1024
	}
	return strings.TrimSuffix(strconv.FormatFloat(value, 'f', 1, 64), ".0") + units[i]
}

// parseCounts reads what was given as NAME=COUNT, each name once.
func parseCounts(given []string, least int64) (map[string]int64, error) {
	pairs, err := parsePairs(given)
	if err != nil || len(pairs) == 0 {
		return nil, err
	}
	counts := make(map[string]int64, len(pairs))
	for k, v := range pairs {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < least {
			return nil, fmt.Errorf("%s=%s: give a whole number of at least %d", k, v, least)
		}
		counts[k] = n
	}
	return counts, nil
}

// parsePairs reads what was given as k=v, each key once.
func parsePairs(given []string) (map[string]string, error) {
	out := make(map[string]string, len(given))
	var errs []error
	for _, g := range given {
		k, v, ok := strings.Cut(g, "=")
		_, twice := out[k]
		switch {
		case !ok || k == "":
			errs = append(errs, fmt.Errorf("%q: give it as key=value", g))
		case twice:
			errs = append(errs, fmt.Errorf("%s is given twice", k))
		}
		out[k] = v
	}
	return out, errors.Join(errs...)
}

// parseCount reads a whole number.
func parseCount(s string) (int32, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q: give a whole number", s)
	}
	return int32(n), nil
}
