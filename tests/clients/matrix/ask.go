// Asks four times, each over a connection of its own, and prints a line for each.
package main

import (
	"fmt"
	"net/http"
	"strings"
)

func main() {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true
	client := &http.Client{Transport: transport}
	for round := 0; round < 4; round++ {
		body := strings.NewReader(`{"model":"gpt-4o-mini","messages":[]}`)
		request, err := http.NewRequest("POST", "https://api.openai.com/v1/chat/completions", body)
		if err != nil {
			panic(err)
		}
		request.Header.Set("authorization", "Bearer sk-test")
		answer, err := client.Do(request)
		if err != nil {
			parts := strings.Split(err.Error(), ": ")
			fmt.Println(parts[len(parts)-1])
			continue
		}
		answer.Body.Close()
		fmt.Println(answer.StatusCode)
	}
}
