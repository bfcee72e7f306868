// Package bench measures servers that speak the OpenAI API, over streaming HTTP as their users see them, and compares
// several of them on one machine.
//
// A [Scenario] is a load; [Scenario.Measure] puts it to one server in a closed loop, in which each of N clients sends its next
// request when its last one has ended, and records [Figures]. [Compare] starts servers by itself, one at a time and by
// turns, so that what slows the machine for a while slows all of them; a [Report] keeps the samples of all rounds and writes
// medians, ratios with their spread, and a plot.
//
// Tokens are counted by the servers, in the usage at the end of each stream, and times by this package:
//
//   - time to first token: from sending the request until the first piece of text arrives
//   - inter-token latency: the gap between two pieces of text of one answer, as a reader sees it; a piece can be several tokens
//   - tokens/s: the tokens of all answers over the time from the first request to the end of the last answer
package bench
