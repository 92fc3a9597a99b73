package statediff

// member is one member of an object; name is quoted.
type member struct{ name, value []byte }

// members splits a canonical object.
func members(object []byte) []member {
	var out []member
	for i := 1; object[i] != '}'; {
		if object[i] == ',' {
			i++
		}
		colon := endOfValue(object, i)
		end := endOfValue(object, colon+1)
		out = append(out, member{name: object[i:colon], value: object[colon+1 : end]})
		i = end
	}
	return out
}

// elements splits a canonical array.
func elements(array []byte) [][]byte {
	var out [][]byte
	for i := 1; array[i] != ']'; {
		if array[i] == ',' {
			i++
		}
		end := endOfValue(array, i)
		out = append(out, array[i:end])
		i = end
	}
	return out
}

// endOfValue returns the index behind the value that begins at text[i].
func endOfValue(text []byte, i int) int {
	depth := 0
	for i < len(text) {
		switch text[i] {
		case '"':
			for i++; text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // of the container; a number or literal ended here
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ':':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return i
}
