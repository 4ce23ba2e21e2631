"""What scripts/bench is made of.

    processes.py   running commands and ending them, whatever happens
    place.py       the folder where all is made, and what is mounted in it
    peers.py       the programs to compare with: installed, started, stopped
    stores.py      stores, written as docker-registry lays them out, without one
    results.py     what was measured, and what it is compared with
    report.py      results as text and as JSON
    chart.py       results as a picture
    bench.py       what every area is given
    areas/         what is measured
"""
