// Fills the masks of a text over REST: go run client.go http://127.0.0.1:8501 "The [MASK] sat."
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"
)

type request struct {
	SignatureName string              `json:"signature_name"`
	Inputs        map[string][]string `json:"inputs"`
}

type answer struct {
	Outputs struct {
		Tokens        [][][]string  `json:"tokens"` // [text][mask][k], best first
		Scores        [][][]float64 `json:"scores"`
		MaskPositions [][]int       `json:"mask_positions"` // -1: this text has fewer masks
	} `json:"outputs"`
	Error string `json:"error"`
}

func main() {
	body, err := json.Marshal(request{"serving_default", map[string][]string{"text": {os.Args[2]}}})
	if err != nil {
		panic(err)
	}
	client := http.Client{Timeout: 10 * time.Second}
	reply, err := client.Post(os.Args[1]+"/v1/models/mlm:predict", "application/json", bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	defer reply.Body.Close()
	var found answer
	if err := json.NewDecoder(reply.Body).Decode(&found); err != nil {
		panic(err)
	}
	if found.Error != "" {
		panic(found.Error)
	}
	for mask, position := range found.Outputs.MaskPositions[0] {
		if position >= 0 {
			fmt.Println(found.Outputs.Tokens[0][mask][0], found.Outputs.Scores[0][mask][0])
		}
	}
}
