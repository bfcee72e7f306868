// Package figure writes plots to files.
package figure

import (
	"errors"
	"os"
	"path/filepath"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Save makes the file at path of what draws onto an area of this size, less a margin: a .png, whose pixels are fine enough for a sharp
// screen, else SVG.
func Save(path string, width, height vg.Length, draws func(area draw.Canvas)) error {
	const margin = 3 * vg.Millimeter
	var c vg.CanvasWriterTo
	if filepath.Ext(path) == ".png" {
		c = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(160))}
	} else {
		c = vgsvg.New(width, height)
	}
	draws(draw.Crop(draw.NewCanvas(c, width, height), margin, -margin, margin, -margin))
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = c.WriteTo(f)
	return errors.Join(err, f.Close())
}
