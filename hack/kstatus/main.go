// Prints what the kstatus library says of each object: one JSON object a line in, one line "<status>\t<message>" out.
package main

import (
	"bufio"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// Version of the library, set by the build.
var Version = "unknown"

const longestLineBytes = 16 << 20

func main() {
	if len(os.Args) > 1 && os.Args[1] == "--version" {
		fmt.Println("kstatus", Version)
		return
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, longestLineBytes)
	for lines.Scan() {
		var object unstructured.Unstructured
		fail(object.UnmarshalJSON(lines.Bytes())) // unlike encoding/json it keeps integers
		result, err := status.Compute(&object)
		fail(err)
		fmt.Printf("%s\t%s\n", result.Status, result.Message)
	}
	fail(lines.Err())
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "kstatus:", err)
		os.Exit(1)
	}
}
