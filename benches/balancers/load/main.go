// Offers one request at an even pace through grpc-go and one of its balancers, and prints what became of it as JSON.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/balancer/weightedroundrobin"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
)

// raw sends a message that is encoded already, and keeps answers as they come.
type raw struct{}

func (raw) Name() string                  { return "proto" }
func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// outcome is what was counted.
type outcome struct {
	// Answered requests by server.
	Answered map[string]int `json:"answered"`
	// Others by status code.
	Failed map[string]int `json:"failed"`
	// Milliseconds of answered requests.
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
}

func main() {
	addresses := flag.String("addresses", "", "servers, with commas between")
	policy := flag.String("policy", "round_robin", "round_robin or weighted_round_robin")
	oob := flag.Bool("oob", false, "ask for load reports as a stream instead of reading trailers")
	body := flag.String("body", "", "file of the encoded request")
	method := flag.String("method", "", "full name of the method")
	rate := flag.Float64("rate", 1, "requests a second")
	warmUp := flag.Duration("warm-up", time.Second, "time that does not count")
	counted := flag.Duration("counted", time.Second, "time that counts")
	deadline := flag.Duration("deadline", time.Second, "deadline of a request")
	flag.Parse()

	message, err := os.ReadFile(*body)
	fail(err)
	servers := manual.NewBuilderWithScheme("fixed")
	state := resolver.State{}
	for _, address := range strings.Split(*addresses, ",") {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: address}}})
	}
	servers.InitialState(state)
	settings := "{}"
	if *policy == "weighted_round_robin" {
		settings = fmt.Sprintf(
			`{"blackoutPeriod":"1s","weightUpdatePeriod":"0.5s","enableOobLoadReport":%t,"oobReportingPeriod":"0.5s"}`, *oob)
	}
	connection, err := grpc.NewClient("fixed:///servers",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithResolvers(servers),
		grpc.WithDefaultServiceConfig(fmt.Sprintf(`{"loadBalancingConfig":[{%q:%s}]}`, *policy, settings)),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
	fail(err)

	var lock sync.Mutex
	var done sync.WaitGroup
	found := outcome{Answered: map[string]int{}, Failed: map[string]int{}}
	var times []float64
	began := time.Now()
	gap := time.Duration(float64(time.Second) / *rate)
	for n := 0; ; n++ {
		due := began.Add(time.Duration(n) * gap)
		if due.Sub(began) >= *warmUp+*counted {
			break
		}
		time.Sleep(time.Until(due))
		counts := due.Sub(began) >= *warmUp
		done.Add(1)
		go func() {
			defer done.Done()
			ctx, cancel := context.WithDeadline(context.Background(), due.Add(*deadline))
			defer cancel()
			var answer []byte
			var from peer.Peer
			err := connection.Invoke(ctx, *method, &message, &answer, grpc.Peer(&from))
			took := time.Since(due)
			if !counts {
				return
			}
			lock.Lock()
			defer lock.Unlock()
			if code := status.Code(err); code != codes.OK {
				found.Failed[code.String()]++
				return
			}
			found.Answered[from.Addr.String()]++
			times = append(times, float64(took)/float64(time.Millisecond))
		}()
	}
	done.Wait()
	sort.Float64s(times)
	if len(times) > 0 {
		found.P50, found.P99 = times[len(times)/2], times[len(times)*99/100]
	}
	fail(json.NewEncoder(os.Stdout).Encode(found))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
