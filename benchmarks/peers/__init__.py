"""What Homeostat is measured beside: each a small server that runs alone, given a bundle's folder and a port."""
