// Sandbox is the first process of every pod of the test node: it holds the pod's namespaces until it is told to end,
// and reaps what the pod's containers leave behind. With arguments it is the smallest program that shows a test
// whether pods work: `say WORDS`, `serve PORT` and `fetch URL`.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// account is where a pod finds the credentials of its service account, if it asked for them.
const account = "/var/run/secrets/kubernetes.io/serviceaccount/"

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

// fetch prints what an address answers; inside a cluster it trusts the cluster's authority and says which account asks.
func fetch(url string) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	client := http.Client{}
	if authority, err := os.ReadFile(account + "ca.crt"); err == nil {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(authority)
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	}
	if token, err := os.ReadFile(account + "token"); err == nil {
		request.Header.Set("Authorization", "Bearer "+string(token))
	}
	answer, err := client.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(os.Stdout, answer.Body); err != nil {
		log.Fatal(err)
	}
}
