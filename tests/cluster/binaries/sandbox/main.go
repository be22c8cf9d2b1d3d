// Sandbox is the first process of every pod of the test node: it holds the pod's namespaces until it is told to end,
// and reaps what the pod's containers leave behind. With arguments it is the smallest program that shows a test
// whether pods work: `say WORDS`, `serve PORT` and `fetch URL`.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		hold()
		return
	}
	switch verb, rest := os.Args[1], os.Args[2:]; verb {
	case "say":
		fmt.Println(strings.Join(rest, " "))
	case "serve":
		http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) { fmt.Fprintln(answer, "served") })
		log.Fatal(http.ListenAndServe(":"+rest[0], nil))
	case "fetch":
		fetch(rest[0])
	default:
		log.Fatalf("%s is none of say, serve, fetch", verb)
	}
}

// hold waits for a signal to end, and collects children that have ended.
func hold() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGCHLD, syscall.SIGINT, syscall.SIGTERM)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}

// fetch prints what an address answers.
func fetch(url string) {
	answer, err := http.Get(url)
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(os.Stdout, answer.Body); err != nil {
		log.Fatal(err)
	}
}
