// Fetch over HTTP with Go's net/http, as it comes: fetch once URL | many N URL | loop SECONDS URL ...
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

func get(url string) int {
	reply, err := http.Get(url)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 0
	}
	defer reply.Body.Close()
	io.Copy(io.Discard, reply.Body)
	return reply.StatusCode
}

func main() {
	mode, rest := os.Args[1], os.Args[2:]
	status := http.StatusOK
	switch mode {
	case "once":
		status = get(rest[0])
	case "many":
		for n, _ := strconv.Atoi(rest[0]); n > 0; n-- {
			get(rest[1])
		}
	case "loop":
		seconds, _ := strconv.ParseFloat(rest[0], 64)
		end := time.Now().Add(time.Duration(seconds * float64(time.Second)))
		for time.Now().Before(end) {
			for _, url := range rest[1:] {
				get(url)
			}
			time.Sleep(500 * time.Millisecond)
		}
	}
	if status != http.StatusOK {
		os.Exit(1)
	}
}
