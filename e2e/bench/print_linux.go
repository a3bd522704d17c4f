package main

import (
	"fmt"
	"slices"
)

// figures of a run, by the words of a goal.
func (f *figures) by(what string) float64 {
	switch what {
	case "cpu":
		return f.CPU
	case "wire":
		return float64(f.Wire)
	default:
		return f.Wall
	}
}

func (r *row) sorted(of func(*figures) float64) []float64 {
	list := make([]float64, 0, len(r.runs))
	for _, f := range r.runs {
		list = append(list, of(f))
	}
	slices.Sort(list)
	return list
}

func (r *row) median(of func(*figures) float64) float64 {
	list := r.sorted(of)
	return (list[(len(list)-1)/2] + list[len(list)/2]) / 2
}

const mib = 1 << 20

// print writes the table of a load and returns how many of its goals were missed.
func print(l *load, rows []row) (missed int) {
	fmt.Printf("\n### %s\n\n", l.title)
	fmt.Println("| | wall s | CPU s, both sides | wire MiB | RSS MiB, source | RSS MiB, target | wall ×, Ferry to this | CPU × |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	first := &rows[0]
	for i := range rows {
		r := &rows[i]
		wall := r.sorted(func(f *figures) float64 { return f.Wall })
		cpu := func(f *figures) float64 { return f.CPU }
		fmt.Printf("| %s | %.2f (%.2f to %.2f) | %.2f | %.1f | %.0f | %.0f | %.2f | %.2f |\n", r.name,
			r.median(func(f *figures) float64 { return f.Wall }), wall[0], wall[len(wall)-1], r.median(cpu),
			r.median(func(f *figures) float64 { return float64(f.Wire) })/mib,
			r.median(func(f *figures) float64 { return float64(f.ClientRSS) })/mib,
			r.median(func(f *figures) float64 { return float64(f.ServerRSS) })/mib,
			ratio(first, r, "wall"), ratio(first, r, "cpu"))
	}
	fmt.Println()
	for _, g := range l.goals {
		i := slices.IndexFunc(rows, func(r row) bool { return r.name == g.than })
		got, word := ratio(first, &rows[i], g.what), "reached"
		if got > g.most {
			word = "missed"
			missed++
		}
		fmt.Printf("- %s of `%s` to `%s`: %.2f, goal at most %.2f: %s\n", g.what, first.name, g.than, got, g.most, word)
	}
	return missed
}

func ratio(a, b *row, what string) float64 {
	of := func(f *figures) float64 { return f.by(what) }
	return a.median(of) / b.median(of)
}
