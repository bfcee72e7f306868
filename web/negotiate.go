package web

import (
	"strconv"
	"strings"
)

// choose is the encoding to answer in: the best of those there are that the client takes, "" for none.
func choose(f file, accept string) string {
	for _, s := range suffixes {
		if _, ok := f.forms[s.encoding]; ok && accepts(accept, s.encoding) {
			return s.encoding
		}
	}
	return ""
}

// accepts says whether an Accept-Encoding header takes an encoding.
func accepts(header, encoding string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, parameters, _ := strings.Cut(part, ";")
		if !strings.EqualFold(strings.TrimSpace(name), encoding) {
			continue
		}
		q, found := strings.CutPrefix(strings.ReplaceAll(strings.ToLower(parameters), " ", ""), "q=")
		if !found {
			return true
		}
		weight, err := strconv.ParseFloat(q, 64)
		return err == nil && weight > 0
	}
	return false
}

// known says whether an If-None-Match header names a tag.
func known(header, etag string) bool {
	for part := range strings.SplitSeq(header, ",") {
		part = strings.TrimPrefix(strings.TrimSpace(part), "W/")
		if part == etag || part == "*" {
			return true
		}
	}
	return false
}
